"""`moue studio`: a page in the browser on which someone moves a face with sliders.

Read in this order: `command` opens it, `guard` lets in who may, `app` answers, `live` plays, and
`stage` computes, one thing after another. Of these only `command` can be imported without FastAPI.
"""
