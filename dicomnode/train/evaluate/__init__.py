"""A model over the cases of a data set, and the page that tells how it did."""
