"""The computations of the methods that need the model: one teacher-forced pass an answer, from which all of them read.

Nobody has published how these methods are run on a model that generates: each adaptation here is our reading, and its
docstring says which.
"""
