-- A window's stratum: the decile of its peak where the feature fires in it, else its kind.
create macro stratum_name(kind, decile) as if(kind = 'activating', 'decile ' || decile, kind)
