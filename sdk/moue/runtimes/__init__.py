"""What executes a bundle's graphs: a seam (`base`), a file per runtime, a choice (`select`)."""
