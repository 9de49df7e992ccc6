"""The page of a run (``report.html``) and the folder of pages over many runs (`xcore view`).

Pictures are made small when an explanation is drawn (`xcore.report.small_pictures`). A run becomes plain data
(`main_table`, `classes`, `provenance`, `found`), and that becomes one self-contained document (`run_page`). `overview`
makes the folder of many runs. Not public.
"""
