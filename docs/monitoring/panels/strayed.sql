-- Cells outside the partition of their day; the next run moves them.
SELECT count(*) AS cells FROM stray_cells('-infinity', 'infinity')
