"""Many runs of one experiment: what is asked for, who makes it, how it travels.

Knows experiments by what it asks of them; never where executors run things.
"""
