"""AIBrix's pod autoscalers (e3e10f9e): APA and KPA as its code has them, defects included."""
