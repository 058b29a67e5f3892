"""What `demo.py` puts on show: the processes, the scenarios, the storm, and how they are told."""
