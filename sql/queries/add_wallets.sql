-- Gives each new address its key. The ones already known are left out first: a conflict would use up a number each time.
INSERT INTO wallets (address)
SELECT a.address
  FROM unnest(%(addresses)s::text[]) AS a (address)
 WHERE NOT EXISTS (SELECT FROM wallets w WHERE w.address = a.address)
 ORDER BY a.address
ON CONFLICT (address) DO NOTHING
