"""Acting on explanations: commands that compare classifiers, repair them, ask about concepts and name failures."""
