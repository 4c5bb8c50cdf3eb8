"""`kalshi-platform preview`: a look into JSON of any size; start with `command`.

`sources` opens and unpacks, `depth` keeps too deep nesting from parsers, `records` says what the records are, `pager`
turns pages, `view` draws them. Kept out: what the records mean.
"""
