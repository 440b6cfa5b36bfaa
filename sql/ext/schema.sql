-- chs: customer health scores. This file is made from sql/ext/ by make.

\echo Use "CREATE EXTENSION chs" to load this file. \quit

-- Names and operators mean PostgreSQL's own, whatever is in the schema chosen at
-- CREATE EXTENSION.
SET LOCAL search_path = pg_catalog, pg_temp;

-- Tables and views live here; public functions live in the schema chosen at
-- CREATE EXTENSION.  A schema of this name that exists already is an error, so
-- that nobody can plant objects in it beforehand.
CREATE SCHEMA chs;
GRANT USAGE ON SCHEMA chs TO PUBLIC;
COMMENT ON SCHEMA chs IS 'customer health scores: tables and views of the extension chs';
