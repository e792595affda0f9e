"""posenc: which positional encoding should my transformer use, and why?

Nothing heavy is imported here, so that `import posenc` costs nothing; take what you need from the rooms:
`posenc.encodings`, `posenc.attention`, `posenc.model`, `posenc.tasks`.
"""

from posenc.runs.former import install

install()
