"""What is brought to a machine before a task can start: names and URLs flow in; files that are whole, and how long
images stay, flow out.
"""
