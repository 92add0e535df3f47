"""AMAS: the model-provider layer of the multi-agent system."""
