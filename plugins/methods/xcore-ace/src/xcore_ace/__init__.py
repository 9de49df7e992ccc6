"""ACE: the concepts of an image class, found by clustering the segments of its images and ranked by TCAV."""
