"""hlctl keeps an audited minute-by-minute record of what Hyperliquid's most profitable wallets hold."""

__version__ = "0.1.0"
