-- The layout on Citus, applied at every start where the extension is present and to tables that are not laid out yet.
-- docs/scale.md says why each table stands where it stands.
DO $$
DECLARE
    layout RECORD;
BEGIN
    IF NOT EXISTS (SELECT 1 FROM pg_extension WHERE extname = 'citus') THEN
        RETURN;
    END IF;
    FOR layout IN SELECT * FROM (VALUES
        -- Spread by cluster, side by side: a statement about one cluster, and a join within it, stays on one node.
        ('cluster', 'id', 'default'),
        ('credential', 'cluster', 'cluster'),
        ('finding', 'cluster', 'cluster'),
        ('detection', 'cluster', 'cluster'),
        ('finding_count', 'cluster', 'cluster'),
        ('event', 'cluster', 'cluster'),
        ('retest', 'cluster', 'cluster'),
        ('receipt', 'cluster', 'cluster'),
        ('coverage', 'cluster', 'cluster'),
        ('scope_exclusion', 'cluster', 'cluster'),
        ('scope_proposal', 'cluster', 'cluster'),
        ('detection_batch', 'cluster', 'cluster'),
        -- Of no cluster, but growing: spread by its own id.
        ('pattern', 'id', 'none'),
        ('log_tile', 'number', 'none'),
        ('log_head', 'size', 'none'),
        -- Small, read everywhere, seldom written: a copy on each node.
        ('cluster_claim', NULL, NULL),
        ('join_token', NULL, NULL),
        ('enrolment', NULL, NULL),
        ('api_token', NULL, NULL),
        ('log_size', NULL, NULL),
        ('setting', NULL, NULL)
    ) AS layouts (name, spread_by, beside)
    LOOP
        IF EXISTS (SELECT 1 FROM pg_dist_partition WHERE logicalrelid = layout.name::regclass) THEN
            CONTINUE;
        END IF;
        IF layout.spread_by IS NULL THEN
            PERFORM create_reference_table(layout.name::regclass);
        ELSE
            PERFORM create_distributed_table(layout.name::regclass, layout.spread_by, colocate_with => layout.beside);
        END IF;
    END LOOP;
END
$$;
