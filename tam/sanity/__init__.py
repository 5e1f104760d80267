"""The stage ``sanity``: do maps change when the model's weights do?"""
