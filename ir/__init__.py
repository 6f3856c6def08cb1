"""What programs are: types, the four levels of IR, their text, verifier and interpreter."""

if __name__ == "ir":
    raise ImportError("this package is symc.ir: import it under that name")
