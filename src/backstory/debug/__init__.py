"""Questions about behaviour: does the model still say that?"""
