"""From a trained generator to a bundle: folded, simplified, strongly-typed graphs."""
