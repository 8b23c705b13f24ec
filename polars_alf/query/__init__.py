"""Tables as lazy frames: scanned, joined, compared, summarised, asked in SQL."""
