from hypothesis import settings

# Speed lives in the benchmarks: a busy machine must not fail a test.
settings.register_profile("tam", deadline=None)
settings.load_profile("tam")
