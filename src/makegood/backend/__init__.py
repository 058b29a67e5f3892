"""WHERE A RUN LIVES: in this process and a store of ours (``local``); other homes fit behind the same protocol."""
