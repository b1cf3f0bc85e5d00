"""What runs under a keeper, whatever it executes: Launches flow in; tasks that outlive Káto, and what became of
them, flow out. A driver gives supervised.py a way (way.py), and is a runtime.

The keeper itself is the C beside this, one static program; by its record (record.py) it and the driver speak.
"""
