"""The demo's room: a public-domain novel, a real sentence encoder and the story told with them."""
