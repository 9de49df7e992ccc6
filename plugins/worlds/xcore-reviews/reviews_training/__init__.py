"""The trainings of the shipped models; see `python plugins/worlds/xcore-reviews/reviews_training --help`."""
