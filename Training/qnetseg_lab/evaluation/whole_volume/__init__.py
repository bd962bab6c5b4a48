"""Protocols R1, R2 and R3: one drawn slice and whole native volumes, beside what a user could do instead.

Read in this order: `collections` (what is scored), `drawn_slices` (what the simulated user draws), `methods`
(who segments it), `scoring` (one result against the expert), `runner` (what the protocols share), then `r1`
(the same patient), `r2` (further drawn slices) and `r3` (another patient). `parallel` spreads the cases over
processes and goes on after an interruption; `aggregate` and `tables` make figures of rows.
"""
