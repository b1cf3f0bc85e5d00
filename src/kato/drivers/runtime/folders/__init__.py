"""What stands in a runtime's folder, for whichever driver: the cell's claim to it, sandboxes, secrets as files,
what tasks wrote, and what stays of them for a day once they are removed.
"""
