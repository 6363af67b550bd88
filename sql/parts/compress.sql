-- compress.sql
--    Smaller models out of larger ones.

CREATE FUNCTION compress_model(model text, new_name text, catalog text, method text, parameters jsonb DEFAULT '{}',
                               OUT quantity text, OUT before double precision, OUT after double precision)
RETURNS SETOF record
LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 10
AS 'MODULE_PATHNAME', 'br_compress_model';
COMMENT ON FUNCTION compress_model(text, text, text, text, jsonb) IS
'Makes a smaller model of a model for the texts of a catalog''s items, and stores it under a new name, with its lineage; neither the model nor the catalog changes. Methods: vocabulary keeps the tokens that the texts use (parameter least_uses); structure takes from each layer the attention heads and neurons that embeddings depend on least (heads_removed, neurons_removed: shares; texts, draws); layers keeps some of the layers (layers, half of them by default) and trains them on texts to embed as the whole model does (texts, epochs, batch, rate), which takes minutes; int8 rounds each row of every matrix and table to a scale times whole numbers up to 127, so that the tables keep a quarter of the bytes. Returns what there was and what there is: bytes, parameters, vocabulary, layers, heads, neurons, texts_per_second, and over texts left out of its making (sample, seed) mean_cosine and least_cosine to the original''s embeddings, and recall_at_10 of its neighbours (NULL where there are too few texts); of int8 also int8_texts_per_second and int8_mean_cosine to the original, of both as they are computed where bundle_rec.precision is int8 (NULL where the backend does not). bytes are those in the tables. For the catalog''s owner, to whom EXECUTE on it was granted, such as the members of pg_read_server_files';
REVOKE ALL ON FUNCTION compress_model(text, text, text, text, jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION compress_model(text, text, text, text, jsonb) TO pg_read_server_files;
