"""A rollout's first event as an earlier openbell wrote it: with a key that is gone, without those that came since."""

BEGUN = (
    b'{"event":"Begun","at_s":1.0,"plan":{"id":"r-1","environment":"production","strategy":"blue-green",'
    b'"candidate":{"slot":"blue","digest":"sha256:a","version":"v1","replicas":2},"stable":null,'
    b'"steps":[{"step":"Retire","side":"candidate","replicas":0},{"step":"Place","side":"candidate","replicas":2}],'
    b'"author":"ada","watch_for":{"duration_s":3600.0,"error_rate_pct_max":0.1}},"by":"ada"}'
)
