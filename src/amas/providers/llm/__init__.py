"""The one adapter to all vendors, through LiteLLM, and the catalogue of what is known of them."""
