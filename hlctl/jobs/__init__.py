"""The commands' stories: one flat function each, from settings to a result."""
