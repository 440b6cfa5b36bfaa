-- Nothing here has rights of its own: statements on nodes are run as whoever the caller's user mapping says.

REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA chs_cluster FROM PUBLIC;
GRANT EXECUTE ON FUNCTION chs_cluster.available(anyelement), chs_cluster.stats(boolean), chs_cluster.percent(bigint, bigint), chs_cluster.verify(), chs_cluster.chs_score(anyelement) TO PUBLIC;
GRANT SELECT ON chs_cluster.nodes TO PUBLIC;
