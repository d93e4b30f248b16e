"""The interactive figures of the lessons: one file a lesson, a pure compute() and draw() in a thin shell."""
