"""posenc: which positional encoding should my transformer use, and why?

Nothing is imported here, so that `import posenc` costs nothing; take what you need from the modules:
`posenc.encodings`, `posenc.attention.layer`, `posenc.model.encoder`, `posenc.tasks`.
"""
