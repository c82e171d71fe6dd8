"""What hlctl costs, measured beside something else: each script says what it compares and how to run it."""
