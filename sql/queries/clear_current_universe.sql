-- First half of the replacement; DELETE, not TRUNCATE, so that readers see the old universe until COMMIT.
DELETE FROM wallet_universe_current
