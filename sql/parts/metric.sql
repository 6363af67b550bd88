-- metric.sql
--    How good rankings and predictions are: metrics of one list, their means over
--    many, and what becomes of a catalog under them.
--
-- A mean's state is double precision[3]: count, mean, sum of squared distances.
-- The others' is a tally (br_eval.h). Both merge, in parallel workers and by
-- metric_merge and tally_merge over what other servers give.

CREATE TYPE metric AS (value double precision, standard_error double precision, n bigint);
COMMENT ON TYPE metric IS
'A metric over n rows or lists: its value, and the standard error of that (NULL where it cannot be told, as from one row)';

CREATE TYPE fairness AS (groups bigint, disparity_ratio double precision, kl_divergence double precision, total_variation double precision);
COMMENT ON TYPE fairness IS
'How far the exposure of groups is from their target: the least exposure per target over the greatest (1 is fair), the Kullback-Leibler divergence in nats, and the share of exposure that would have to move (0 is fair)';

COMMENT ON COLUMN metric.value IS 'Estimate; NULL where it is not defined';
COMMENT ON COLUMN metric.standard_error IS 'Of the value; NULL where there are too few rows';
COMMENT ON COLUMN metric.n IS 'Rows or lists that counted';
COMMENT ON COLUMN fairness.groups IS 'Groups with exposure or a target';
COMMENT ON COLUMN fairness.disparity_ratio IS 'Least exposure share over target share of a group, over the greatest; in [0, 1], 1 is fair';
COMMENT ON COLUMN fairness.kl_divergence IS 'Kullback-Leibler divergence of exposure from the target, in nats; infinite where a group without a target has exposure';
COMMENT ON COLUMN fairness.total_variation IS 'Share of exposure that would have to move to other groups, in [0, 1]';

-- one list

CREATE FUNCTION precision_at(recommended text[], relevant text[], k integer) RETURNS double precision
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_precision_at';
COMMENT ON FUNCTION precision_at(text[], text[], integer) IS
'Precision: relevant items among the first k, over k; a repeated item counts once; NULL where nothing is relevant or an argument is NULL';

CREATE FUNCTION recall_at(recommended text[], relevant text[], k integer) RETURNS double precision
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_recall_at';
COMMENT ON FUNCTION recall_at(text[], text[], integer) IS
'Recall: relevant items among the first k, over all relevant ones; a repeated item counts once; NULL where nothing is relevant or an argument is NULL';

CREATE FUNCTION f1_at(recommended text[], relevant text[], k integer) RETURNS double precision
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_f1_at';
COMMENT ON FUNCTION f1_at(text[], text[], integer) IS
'F1: harmonic mean of precision and recall among the first k; a repeated item counts once; NULL where nothing is relevant or an argument is NULL';

CREATE FUNCTION hit_rate_at(recommended text[], relevant text[], k integer) RETURNS double precision
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_hit_rate_at';
COMMENT ON FUNCTION hit_rate_at(text[], text[], integer) IS
'1 where a relevant item is among the first k, else 0; a repeated item counts once; NULL where nothing is relevant or an argument is NULL';

CREATE FUNCTION reciprocal_rank_at(recommended text[], relevant text[], k integer) RETURNS double precision
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_reciprocal_rank_at';
COMMENT ON FUNCTION reciprocal_rank_at(text[], text[], integer) IS
'1 over the rank of the first relevant item among the first k, 0 without one; a repeated item counts once; NULL where nothing is relevant or an argument is NULL';

CREATE FUNCTION average_precision_at(recommended text[], relevant text[], k integer) RETURNS double precision
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_average_precision_at';
COMMENT ON FUNCTION average_precision_at(text[], text[], integer) IS
'Average precision: mean over the relevant items, at most k, of the precision at the rank of each; 0 for those not among the first k; a repeated item counts once; NULL where nothing is relevant or an argument is NULL';

CREATE FUNCTION ndcg_at(recommended text[], relevant text[], k integer) RETURNS double precision
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_ndcg_at';
COMMENT ON FUNCTION ndcg_at(text[], text[], integer) IS
'Normalized discounted cumulative gain of the first k: sum of 1 / log2(1 + rank) over relevant items, over that of the best list; a repeated item counts once; NULL where nothing is relevant or an argument is NULL';

CREATE FUNCTION ndcg_at(recommended text[], relevant text[], gains double precision[], k integer) RETURNS double precision
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_ndcg_graded_at';
COMMENT ON FUNCTION ndcg_at(text[], text[], double precision[], integer) IS
'The same with a gain for each of relevant instead of 1, at least 0; for exponential gain pass 2 ^ grade - 1; a repeated item counts once; NULL where nothing is relevant or an argument is NULL';

CREATE FUNCTION intra_list_diversity(embeddings embedding[]) RETURNS double precision
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_intra_list_diversity';
COMMENT ON FUNCTION intra_list_diversity(embedding[]) IS
'Mean cosine distance of all pairs in a list, 0 to 2; NULL for fewer than two or if the argument is NULL';

CREATE FUNCTION position_exposure(rank integer) RETURNS double precision
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_position_exposure';
COMMENT ON FUNCTION position_exposure(integer) IS
'Attention that a rank gets: 1 / log2(1 + rank); NULL if the argument is NULL';

-- means over lists

CREATE FUNCTION metric_combine(double precision[], double precision[]) RETURNS double precision[]
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_metric_combine';
COMMENT ON FUNCTION metric_combine(double precision[], double precision[]) IS
'Joins two states of means; NULL if an argument is NULL';

CREATE FUNCTION metric_final(double precision[]) RETURNS metric
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_metric_final';
COMMENT ON FUNCTION metric_final(double precision[]) IS
'Mean that a state holds, with its standard error; NULL if the argument is NULL';

CREATE FUNCTION rmse_final(double precision[]) RETURNS metric
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_rmse_final';
COMMENT ON FUNCTION rmse_final(double precision[]) IS
'Root of the mean that a state of squared errors holds, its standard error by the delta method; NULL if the argument is NULL';

CREATE FUNCTION metric_accumulate(double precision[], value double precision) RETURNS double precision[]
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_metric_accumulate';
COMMENT ON FUNCTION metric_accumulate(double precision[], double precision) IS
'Adds a value to the state of a mean; NULL if an argument is NULL';

CREATE AGGREGATE mean_metric(value double precision) (
    SFUNC = metric_accumulate, STYPE = double precision[], INITCOND = '{0,0,0}',
    FINALFUNC = metric_final, COMBINEFUNC = metric_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE mean_metric(double precision) IS
'Mean with its standard error, for any metric of a list; a NULL is skipped';

CREATE AGGREGATE metric_partial(value double precision) (
    SFUNC = metric_accumulate, STYPE = double precision[], INITCOND = '{0,0,0}',
    COMBINEFUNC = metric_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE metric_partial(double precision) IS
'The state of mean_metric, for metric_merge on another server; a NULL is skipped';

CREATE AGGREGATE metric_merge(double precision[]) (
    SFUNC = metric_combine, STYPE = double precision[], INITCOND = '{0,0,0}',
    COMBINEFUNC = metric_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE metric_merge(double precision[]) IS
'Joins states of metric_partial; read the result with metric_final, or rmse_final; a NULL is skipped';

CREATE FUNCTION precision_accumulate(double precision[], recommended text[], relevant text[], k integer) RETURNS double precision[]
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_precision_accumulate';
COMMENT ON FUNCTION precision_accumulate(double precision[], text[], text[], integer) IS
'Adds the precision of a list to the state of a mean; NULL if an argument is NULL';

CREATE AGGREGATE mean_precision(recommended text[], relevant text[], k integer) (
    SFUNC = precision_accumulate, STYPE = double precision[], INITCOND = '{0,0,0}',
    FINALFUNC = metric_final, COMBINEFUNC = metric_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE mean_precision(text[], text[], integer) IS
'Mean over lists of precision_at, with its standard error; lists for which nothing is relevant, or an argument is NULL, are skipped';

CREATE FUNCTION recall_accumulate(double precision[], recommended text[], relevant text[], k integer) RETURNS double precision[]
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_recall_accumulate';
COMMENT ON FUNCTION recall_accumulate(double precision[], text[], text[], integer) IS
'Adds the recall of a list to the state of a mean; NULL if an argument is NULL';

CREATE AGGREGATE mean_recall(recommended text[], relevant text[], k integer) (
    SFUNC = recall_accumulate, STYPE = double precision[], INITCOND = '{0,0,0}',
    FINALFUNC = metric_final, COMBINEFUNC = metric_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE mean_recall(text[], text[], integer) IS
'Mean over lists of recall_at, with its standard error; lists for which nothing is relevant, or an argument is NULL, are skipped';

CREATE FUNCTION f1_accumulate(double precision[], recommended text[], relevant text[], k integer) RETURNS double precision[]
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_f1_accumulate';
COMMENT ON FUNCTION f1_accumulate(double precision[], text[], text[], integer) IS
'Adds the f1 of a list to the state of a mean; NULL if an argument is NULL';

CREATE AGGREGATE mean_f1(recommended text[], relevant text[], k integer) (
    SFUNC = f1_accumulate, STYPE = double precision[], INITCOND = '{0,0,0}',
    FINALFUNC = metric_final, COMBINEFUNC = metric_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE mean_f1(text[], text[], integer) IS
'Mean over lists of f1_at, with its standard error; lists for which nothing is relevant, or an argument is NULL, are skipped';

CREATE FUNCTION hit_rate_accumulate(double precision[], recommended text[], relevant text[], k integer) RETURNS double precision[]
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_hit_rate_accumulate';
COMMENT ON FUNCTION hit_rate_accumulate(double precision[], text[], text[], integer) IS
'Adds the hit rate of a list to the state of a mean; NULL if an argument is NULL';

CREATE AGGREGATE hit_rate(recommended text[], relevant text[], k integer) (
    SFUNC = hit_rate_accumulate, STYPE = double precision[], INITCOND = '{0,0,0}',
    FINALFUNC = metric_final, COMBINEFUNC = metric_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE hit_rate(text[], text[], integer) IS
'Mean over lists of hit_rate_at, with its standard error; lists for which nothing is relevant, or an argument is NULL, are skipped';

CREATE FUNCTION reciprocal_rank_accumulate(double precision[], recommended text[], relevant text[], k integer) RETURNS double precision[]
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_reciprocal_rank_accumulate';
COMMENT ON FUNCTION reciprocal_rank_accumulate(double precision[], text[], text[], integer) IS
'Adds the reciprocal rank of a list to the state of a mean; NULL if an argument is NULL';

CREATE AGGREGATE mean_reciprocal_rank(recommended text[], relevant text[], k integer) (
    SFUNC = reciprocal_rank_accumulate, STYPE = double precision[], INITCOND = '{0,0,0}',
    FINALFUNC = metric_final, COMBINEFUNC = metric_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE mean_reciprocal_rank(text[], text[], integer) IS
'Mean over lists of reciprocal_rank_at, with its standard error; lists for which nothing is relevant, or an argument is NULL, are skipped';

CREATE FUNCTION average_precision_accumulate(double precision[], recommended text[], relevant text[], k integer) RETURNS double precision[]
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_average_precision_accumulate';
COMMENT ON FUNCTION average_precision_accumulate(double precision[], text[], text[], integer) IS
'Adds the average precision of a list to the state of a mean; NULL if an argument is NULL';

CREATE AGGREGATE mean_average_precision(recommended text[], relevant text[], k integer) (
    SFUNC = average_precision_accumulate, STYPE = double precision[], INITCOND = '{0,0,0}',
    FINALFUNC = metric_final, COMBINEFUNC = metric_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE mean_average_precision(text[], text[], integer) IS
'Mean over lists of average_precision_at, with its standard error; lists for which nothing is relevant, or an argument is NULL, are skipped';

CREATE FUNCTION ndcg_accumulate(double precision[], recommended text[], relevant text[], k integer) RETURNS double precision[]
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_ndcg_accumulate';
COMMENT ON FUNCTION ndcg_accumulate(double precision[], text[], text[], integer) IS
'Adds the NDCG of a list to the state of a mean; NULL if an argument is NULL';

CREATE AGGREGATE mean_ndcg(recommended text[], relevant text[], k integer) (
    SFUNC = ndcg_accumulate, STYPE = double precision[], INITCOND = '{0,0,0}',
    FINALFUNC = metric_final, COMBINEFUNC = metric_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE mean_ndcg(text[], text[], integer) IS
'Mean over lists of ndcg_at, with its standard error; lists for which nothing is relevant, or an argument is NULL, are skipped';

CREATE FUNCTION ndcg_accumulate(double precision[], recommended text[], relevant text[], gains double precision[], k integer) RETURNS double precision[]
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_ndcg_graded_accumulate';
COMMENT ON FUNCTION ndcg_accumulate(double precision[], text[], text[], double precision[], integer) IS
'Adds the NDCG of a list with graded relevance to the state of a mean; NULL if an argument is NULL';

CREATE AGGREGATE mean_ndcg(recommended text[], relevant text[], gains double precision[], k integer) (
    SFUNC = ndcg_accumulate, STYPE = double precision[], INITCOND = '{0,0,0}',
    FINALFUNC = metric_final, COMBINEFUNC = metric_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE mean_ndcg(text[], text[], double precision[], integer) IS
'Mean over lists of ndcg_at with gains, with its standard error; lists for which nothing is relevant, or an argument is NULL, are skipped';

-- predictions and items, one a row

CREATE FUNCTION rmse_accumulate(double precision[], prediction double precision, truth double precision) RETURNS double precision[]
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_rmse_accumulate';
COMMENT ON FUNCTION rmse_accumulate(double precision[], double precision, double precision) IS
'Adds a prediction to the state of a mean; NULL if an argument is NULL';

CREATE AGGREGATE rmse(prediction double precision, truth double precision) (
    SFUNC = rmse_accumulate, STYPE = double precision[], INITCOND = '{0,0,0}',
    FINALFUNC = rmse_final, COMBINEFUNC = metric_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE rmse(double precision, double precision) IS
'Root mean squared error, its standard error by the delta method; rows with a NULL are skipped';

CREATE FUNCTION mae_accumulate(double precision[], prediction double precision, truth double precision) RETURNS double precision[]
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_mae_accumulate';
COMMENT ON FUNCTION mae_accumulate(double precision[], double precision, double precision) IS
'Adds a prediction to the state of a mean; NULL if an argument is NULL';

CREATE AGGREGATE mae(prediction double precision, truth double precision) (
    SFUNC = mae_accumulate, STYPE = double precision[], INITCOND = '{0,0,0}',
    FINALFUNC = metric_final, COMBINEFUNC = metric_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE mae(double precision, double precision) IS
'Mean absolute error; rows with a NULL are skipped';

CREATE FUNCTION accuracy_accumulate(double precision[], prediction anycompatible, truth anycompatible) RETURNS double precision[]
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_accuracy_accumulate';
COMMENT ON FUNCTION accuracy_accumulate(double precision[], anycompatible, anycompatible) IS
'Adds a prediction to the state of a mean; NULL if an argument is NULL';

CREATE AGGREGATE accuracy(prediction anycompatible, truth anycompatible) (
    SFUNC = accuracy_accumulate, STYPE = double precision[], INITCOND = '{0,0,0}',
    FINALFUNC = metric_final, COMBINEFUNC = metric_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE accuracy(anycompatible, anycompatible) IS
'Share of predictions that equal the truth; rows with a NULL are skipped';

CREATE FUNCTION novelty_accumulate(double precision[], popularity double precision) RETURNS double precision[]
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_novelty_accumulate';
COMMENT ON FUNCTION novelty_accumulate(double precision[], double precision) IS
'Adds an item to the state of a mean; NULL if an argument is NULL';

CREATE AGGREGATE novelty(popularity double precision) (
    SFUNC = novelty_accumulate, STYPE = double precision[], INITCOND = '{0,0,0}',
    FINALFUNC = metric_final, COMBINEFUNC = metric_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE novelty(double precision) IS
'Novelty: mean self-information -log2(popularity) of recommended items, where popularity is the share of users who had the item; a NULL is skipped';

-- tallies: memory is 32 bytes for each different score, item or group, and up to twice that for a while

CREATE FUNCTION tally_combine(double precision[], double precision[]) RETURNS double precision[]
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_tally_combine';
COMMENT ON FUNCTION tally_combine(double precision[], double precision[]) IS
'Joins two tallies; NULL if an argument is NULL';

CREATE FUNCTION tally_compact(double precision[]) RETURNS double precision[]
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_tally_compact';
COMMENT ON FUNCTION tally_compact(double precision[]) IS
'A tally with one entry for each key and no room to spare; NULL if the argument is NULL';

CREATE AGGREGATE tally_merge(double precision[]) (
    SFUNC = tally_combine, STYPE = double precision[], SSPACE = 1024, INITCOND = '{0,0}',
    FINALFUNC = tally_compact, COMBINEFUNC = tally_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE tally_merge(double precision[]) IS
'Joins tallies of auc_partial, clustered_partial, exposure_partial, gini_partial or fairness_partial; read the result with the function _final of what is wanted; a NULL is skipped';

CREATE FUNCTION auc_accumulate(double precision[], score double precision, label boolean) RETURNS double precision[]
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_auc_accumulate';
COMMENT ON FUNCTION auc_accumulate(double precision[], double precision, boolean) IS
'Adds a row to the tally of auc; NULL if an argument is NULL';

CREATE FUNCTION auc_final(double precision[]) RETURNS metric
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_auc_final';
COMMENT ON FUNCTION auc_final(double precision[]) IS
'Area under the ROC curve of a tally; NULL if the argument is NULL';

CREATE AGGREGATE auc(score double precision, label boolean) (
    SFUNC = auc_accumulate, STYPE = double precision[], SSPACE = 1024, INITCOND = '{0,0}',
    FINALFUNC = auc_final, COMBINEFUNC = tally_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE auc(double precision, boolean) IS
'Area under the ROC curve: how probably a true row scores above a false one, ties counting half, with DeLong standard error; its value is NULL where all labels are the same; rows with a NULL are skipped';

CREATE AGGREGATE auc_partial(score double precision, label boolean) (
    SFUNC = auc_accumulate, STYPE = double precision[], SSPACE = 1024, INITCOND = '{0,0}',
    FINALFUNC = tally_compact, COMBINEFUNC = tally_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE auc_partial(double precision, boolean) IS
'The tally of auc, for tally_merge on another server; rows with a NULL are skipped';

CREATE FUNCTION clustered_accumulate(double precision[], value double precision, cluster text) RETURNS double precision[]
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_clustered_accumulate';
COMMENT ON FUNCTION clustered_accumulate(double precision[], double precision, text) IS
'Adds a value to the tally of its cluster; NULL if an argument is NULL';

CREATE FUNCTION clustered_final(double precision[]) RETURNS metric
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_clustered_final';
COMMENT ON FUNCTION clustered_final(double precision[]) IS
'Mean of a tally of clusters, its standard error clustered; NULL if the argument is NULL';

CREATE AGGREGATE mean_metric(value double precision, cluster text) (
    SFUNC = clustered_accumulate, STYPE = double precision[], SSPACE = 1024, INITCOND = '{0,0}',
    FINALFUNC = clustered_final, COMBINEFUNC = tally_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE mean_metric(double precision, text) IS
'Mean with a standard error that allows for what rows of a cluster, such as a user, have in common; rows with a NULL are skipped';

CREATE AGGREGATE clustered_partial(value double precision, cluster text) (
    SFUNC = clustered_accumulate, STYPE = double precision[], SSPACE = 1024, INITCOND = '{0,0}',
    FINALFUNC = tally_compact, COMBINEFUNC = tally_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE clustered_partial(double precision, text) IS
'The tally of mean_metric over clusters, for tally_merge on another server; rows with a NULL are skipped';

CREATE FUNCTION exposure_accumulate(double precision[], item text, catalog_size bigint) RETURNS double precision[]
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_exposure_accumulate';
COMMENT ON FUNCTION exposure_accumulate(double precision[], text, bigint) IS
'Counts an item that was recommended; NULL if an argument is NULL';

CREATE FUNCTION exposure_accumulate(double precision[], recommended text[], catalog_size bigint) RETURNS double precision[]
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_exposure_list_accumulate';
COMMENT ON FUNCTION exposure_accumulate(double precision[], text[], bigint) IS
'Counts the items of a list; NULL if an argument is NULL';

CREATE FUNCTION item_coverage_final(double precision[]) RETURNS double precision
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_coverage_final';
COMMENT ON FUNCTION item_coverage_final(double precision[]) IS
'Share of the catalog in a tally of exposure; NULL if the tally is NULL or empty';

CREATE FUNCTION exposure_gini_final(double precision[]) RETURNS double precision
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_exposure_gini_final';
COMMENT ON FUNCTION exposure_gini_final(double precision[]) IS
'Gini index of a tally of exposure; NULL if the tally is NULL or without exposure';

CREATE AGGREGATE item_coverage(item text, catalog_size bigint) (
    SFUNC = exposure_accumulate, STYPE = double precision[], SSPACE = 1024, INITCOND = '{0,0}',
    FINALFUNC = item_coverage_final, COMBINEFUNC = tally_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE item_coverage(text, bigint) IS
'Share of a catalog of that many items that was recommended at all, from recommended items, one a row; NULL without rows, and rows with a NULL are skipped';

CREATE AGGREGATE exposure_gini(item text, catalog_size bigint) (
    SFUNC = exposure_accumulate, STYPE = double precision[], SSPACE = 1024, INITCOND = '{0,0}',
    FINALFUNC = exposure_gini_final, COMBINEFUNC = tally_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE exposure_gini(text, bigint) IS
'Gini index of how often each item of a catalog of that many was recommended, 0 where equally often, from recommended items, one a row; NULL without any, and rows with a NULL are skipped';

CREATE AGGREGATE exposure_partial(item text, catalog_size bigint) (
    SFUNC = exposure_accumulate, STYPE = double precision[], SSPACE = 1024, INITCOND = '{0,0}',
    FINALFUNC = tally_compact, COMBINEFUNC = tally_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE exposure_partial(text, bigint) IS
'The tally of item_coverage and exposure_gini, for tally_merge on another server, from recommended items, one a row; rows with a NULL are skipped';

CREATE AGGREGATE item_coverage(recommended text[], catalog_size bigint) (
    SFUNC = exposure_accumulate, STYPE = double precision[], SSPACE = 1024, INITCOND = '{0,0}',
    FINALFUNC = item_coverage_final, COMBINEFUNC = tally_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE item_coverage(text[], bigint) IS
'Share of a catalog of that many items that was recommended at all, from lists of recommended items; NULL without rows, and rows with a NULL are skipped';

CREATE AGGREGATE exposure_gini(recommended text[], catalog_size bigint) (
    SFUNC = exposure_accumulate, STYPE = double precision[], SSPACE = 1024, INITCOND = '{0,0}',
    FINALFUNC = exposure_gini_final, COMBINEFUNC = tally_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE exposure_gini(text[], bigint) IS
'Gini index of how often each item of a catalog of that many was recommended, 0 where equally often, from lists of recommended items; NULL without any, and rows with a NULL are skipped';

CREATE AGGREGATE exposure_partial(recommended text[], catalog_size bigint) (
    SFUNC = exposure_accumulate, STYPE = double precision[], SSPACE = 1024, INITCOND = '{0,0}',
    FINALFUNC = tally_compact, COMBINEFUNC = tally_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE exposure_partial(text[], bigint) IS
'The tally of item_coverage and exposure_gini, for tally_merge on another server, from lists of recommended items; rows with a NULL are skipped';

CREATE FUNCTION gini_accumulate(double precision[], value double precision) RETURNS double precision[]
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_gini_accumulate';
COMMENT ON FUNCTION gini_accumulate(double precision[], double precision) IS
'Adds a value to the tally of gini; NULL if an argument is NULL';

CREATE FUNCTION gini_final(double precision[]) RETURNS double precision
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_gini_final';
COMMENT ON FUNCTION gini_final(double precision[]) IS
'Gini index of a tally of values; NULL if the tally is NULL, or its values sum to 0';

CREATE AGGREGATE gini(value double precision) (
    SFUNC = gini_accumulate, STYPE = double precision[], SSPACE = 1024, INITCOND = '{0,0}',
    FINALFUNC = gini_final, COMBINEFUNC = tally_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE gini(double precision) IS
'Gini index of values of at least 0, one a row: 0 where all are equal, (n - 1) / n where one row has all; NULL where they sum to 0, and a NULL is skipped';

CREATE AGGREGATE gini_partial(value double precision) (
    SFUNC = gini_accumulate, STYPE = double precision[], SSPACE = 1024, INITCOND = '{0,0}',
    FINALFUNC = tally_compact, COMBINEFUNC = tally_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE gini_partial(double precision) IS
'The tally of gini, for tally_merge on another server; rows with a NULL are skipped';

CREATE FUNCTION fairness_accumulate(double precision[], group_name text, exposure double precision, target double precision) RETURNS double precision[]
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_fairness_accumulate';
COMMENT ON FUNCTION fairness_accumulate(double precision[], text, double precision, double precision) IS
'Adds exposure and target of a group to the tally of exposure_fairness; NULL if an argument is NULL';

CREATE FUNCTION fairness_final(double precision[]) RETURNS fairness
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_fairness_final';
COMMENT ON FUNCTION fairness_final(double precision[]) IS
'Fairness of a tally of groups; NULL if the argument is NULL';

CREATE AGGREGATE exposure_fairness(group_name text, exposure double precision, target double precision) (
    SFUNC = fairness_accumulate, STYPE = double precision[], SSPACE = 1024, INITCOND = '{0,0}',
    FINALFUNC = fairness_final, COMBINEFUNC = tally_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE exposure_fairness(text, double precision, double precision) IS
'How the share of exposure of each group is to its share of the target (relevance, stock, equal shares), several rows a group; all but groups is NULL where either sums to 0, and rows with a NULL are skipped';

CREATE AGGREGATE fairness_partial(group_name text, exposure double precision, target double precision) (
    SFUNC = fairness_accumulate, STYPE = double precision[], SSPACE = 1024, INITCOND = '{0,0}',
    FINALFUNC = tally_compact, COMBINEFUNC = tally_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE fairness_partial(text, double precision, double precision) IS
'The tally of exposure_fairness, for tally_merge on another server; rows with a NULL are skipped';
