"""What a run leaves behind: result.json, tables, pictures, page, model card, events."""
