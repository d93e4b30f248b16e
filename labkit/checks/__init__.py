"""What tells a learner whether an exercise is solved, and which mistake was made: one file a lesson."""
