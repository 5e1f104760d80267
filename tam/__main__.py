from tam.cli import main

main()
