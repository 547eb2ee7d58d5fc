"""k-nearest-neighbour classification of embeddings: what a representation says about classes without any training."""

import numpy as np


def accuracy(train, train_labels, test, test_labels, num_neighbours: int = 5) -> tuple[float, float]:
    """Share of test embeddings that a vote of their neighbours by cosine classifies rightly.

    Args:
      train, test: embeddings [N, d] and [M, d].
      train_labels, test_labels: integers or strings [N] and [M].
      num_neighbours: k.
    Returns:
      the accuracy, and that of always naming the most frequent class of the training set.
    Raises:
      ValueError: fewer than k embeddings to compare with, only one class, none of the test set's classes among those
        of the training set, or NaN or Inf in an embedding.
    """
    from sklearn.neighbors import KNeighborsClassifier  # imported here: it takes a second

    train_labels, test_labels = np.asarray(train_labels), np.asarray(test_labels)
    for name, rows in (("train", train), ("test", test)):
        if not np.isfinite(rows).all():
            raise ValueError(f"the embeddings to {name} hold NaN or Inf")
    if len(train) < num_neighbours:
        raise ValueError(f"{len(train)} labelled clips cannot give {num_neighbours} neighbours: add clips, or lower k")
    classes, counts = np.unique(train_labels, return_counts=True)
    if len(classes) < 2:
        raise ValueError(f"all {len(train)} labelled clips are of class {classes[0]}: there is nothing to tell apart")
    if not np.isin(test_labels, classes).any():
        raise ValueError("the clips to classify are of other classes than the labelled ones: do both use one list?")
    classifier = KNeighborsClassifier(num_neighbours, metric="cosine").fit(train, train_labels)
    majority = classes[counts.argmax()]
    return float(np.mean(classifier.predict(test) == test_labels)), float(np.mean(test_labels == majority))
