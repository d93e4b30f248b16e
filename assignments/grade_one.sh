#!/bin/sh
# Inside a container: grade one submission on a copy of the course, and print the notebook that was run.
#   grade_one.sh STUDENT ASSIGNMENT NOTEBOOK      /box: the course, read-only      /in/STUDENT: the submission, read-only
set -eu
mkdir -p /tmp/course/submitted
cp -r /box/. /tmp/course
cp -r "/in/$1" /tmp/course/submitted/
cd /tmp/course
nbgrader autograde "$2" --student="$1" >&2
cat "autograded/$1/$2/$3.ipynb"
