"""The Python front door: what ``import moe_distill as md`` offers, with the keys of the command line."""
