"""learn_peer.py: the peer's side of learn.sh.

    learn_peer.py version
    learn_peer.py als FILE FACTORS ITERATIONS THREADS cg|cholesky

The second prints the seconds that implicit takes and the objective it reaches,
as bench_learn does, on a matrix that bench_learn wrote. Fitting includes the
transposition of the matrix and the random start, as ours does.
"""
import importlib.metadata
import sys
import time

import numpy as np
import scipy.sparse

LAMBDA = .01
ALPHA = 1.0
SEED = 7


def read_matrix(path):
    numbers = np.fromfile(path, np.int32)
    users, items, entries = (int(n) for n in numbers[:3])
    starts = numbers[3:4 + users]
    return scipy.sparse.csr_matrix(
        (np.ones(entries, np.float32), numbers[4 + users:], starts), (users, items))


def objective(matrix, rows, columns):
    """Every entry has the confidence 1 + ALPHA."""
    rows, columns = rows.astype(np.float64), columns.astype(np.float64)
    total = np.sum(rows.T @ rows * (columns.T @ columns))
    total += LAMBDA * (np.sum(rows ** 2) + np.sum(columns ** 2))
    entries = matrix.tocoo()
    for first in range(0, matrix.nnz, 100000):
        part = slice(first, first + 100000)
        scores = np.sum(rows[entries.row[part]] * columns[entries.col[part]], axis=1)
        total += np.sum((1 + ALPHA) * (1 - scores) ** 2 - scores ** 2)
    return total


def time_als(path, factors, iterations, threads, solver):
    from implicit.cpu.als import AlternatingLeastSquares
    matrix = read_matrix(path)
    confidence = matrix.copy()
    confidence.data[:] = 1 + ALPHA
    model = AlternatingLeastSquares(
        factors=factors, regularization=LAMBDA, alpha=1.0, iterations=iterations,
        use_cg=solver == "cg", num_threads=threads, random_state=SEED)
    begun = time.perf_counter()
    model.fit(confidence, show_progress=False)
    taken = time.perf_counter() - begun
    print(f"{taken:.4f} {objective(matrix, model.user_factors, model.item_factors):.6g}")


if __name__ == "__main__":
    if sys.argv[1] == "version":
        print(importlib.metadata.version("implicit"))
    else:
        time_als(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]), sys.argv[6])
