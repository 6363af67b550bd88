-- schema.sql
--    Who may see what: everybody may name the objects of the schema; tables
--    are revoked from PUBLIC one by one where they are created.

GRANT USAGE ON SCHEMA @extschema@ TO PUBLIC;
