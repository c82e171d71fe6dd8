"""Results as text for people and as JSON for programs: the only modules that word and print them."""

from hlctl.logs import clean as clean
