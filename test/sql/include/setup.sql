--
-- setup.sql
--    What every SQL test begins with.
--
-- A test is a file test/sql/NAME.sql whose first lines are
--
--      \unset ECHO
--      \set QUIET 1
--      \i test/sql/include/setup.sql
--
--      SELECT plan(N);
--
-- and whose last is `SELECT * FROM finish();`. Between them stand pgTAP calls;
-- what they print, and nothing else, is expected/NAME.out, so a test's text must
-- not vary from run to run (`\set ECHO` stays off; `\o /dev/null` hides the
-- output of statements that are no assertion). Paths are from the top of the
-- tree. Two runners execute the same file, each in a database of its own:
-- pg_regress (`make installcheck`) and tools/check (`make check`), as a
-- superuser. A test without its whole plan, or ended by an error, has failed.
--
-- Afterwards the extensions pgtap and bundle_rec are there, search_path is
-- bundle_rec, public, and these variables name folders the server can read,
-- each empty where there is none (then skip, and say why):
--
--      :'golden_dir'         the checkout's test/golden
--      :'model_dir'          all-MiniLM-L6-v2
--      :'data_dir'           the real data beside the checkout
--      :'shared_golden_dir'  the reference's whole output beside the checkout
--
-- \if :{?x} works only for variables; to branch on a folder:
--
--      SELECT :'data_dir' <> '' AS have_data \gset
--      \if :have_data
--      ...
--      \else
--      SELECT skip('no real data beside the checkout', N);
--      \endif
--
\set ON_ERROR_STOP 1
\pset format unaligned
\pset tuples_only true
\pset pager off
\pset null ''
\set VERBOSITY default

\set golden_dir ''
\set model_dir ''
\set data_dir ''
\set shared_golden_dir ''
\getenv golden_dir BR_GOLDEN_DIR
\getenv model_dir BR_MODEL_DIR
\getenv data_dir BR_DATA_DIR
\getenv shared_golden_dir BR_SHARED_GOLDEN_DIR

SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap SCHEMA public;
CREATE EXTENSION IF NOT EXISTS bundle_rec;
RESET client_min_messages;
SET search_path = bundle_rec, public;
