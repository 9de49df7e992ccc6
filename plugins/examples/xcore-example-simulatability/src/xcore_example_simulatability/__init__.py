"""Does an explanation help a student to predict what the classifier decides?"""
