"""The settings that authors published for their methods, one method a file: data alone, without torch."""
